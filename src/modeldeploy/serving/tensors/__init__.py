"""Between the bytes of a request and the arrays of a model: reading, checking, writing, describing."""
