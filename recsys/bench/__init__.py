"""How fast this machine trains and scores: the product's own functions, timed on made-up features."""
