"""Times in the back office: to the second, and sorting as they read."""

DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = "Y-m-d"
