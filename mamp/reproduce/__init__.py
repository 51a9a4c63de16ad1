"""The numbers of the paper on a data set: every stage in order, what it costs, and a page with both columns."""
