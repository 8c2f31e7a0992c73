"""The only code that talks to Telegram and eSIM Go: one class each, typed results, three kinds of error."""
