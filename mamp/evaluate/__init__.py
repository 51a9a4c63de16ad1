"""Evaluating representations: every protocol from any weights on any prepared set, with results one can trust."""
