"""The whole shop in real processes while everything breaks at random, and both books compared when it is over."""
