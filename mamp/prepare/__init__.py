"""From recordings as their owners distribute them to the store that training reads."""
