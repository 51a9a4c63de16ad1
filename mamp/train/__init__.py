"""Pre-training: ``python -m mamp.train RECIPE --data DIR --output DIR``."""
