"""One rate for several clients: what each member does, whoever coordinates them."""
