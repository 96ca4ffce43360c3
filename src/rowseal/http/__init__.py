"""HTTP: a request on its way in, and its answer on its way out. Beside `app`, nothing else in rowseal knows it."""
