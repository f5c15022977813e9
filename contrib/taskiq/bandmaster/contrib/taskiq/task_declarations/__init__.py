"""Tasks as code declares them, and the arguments that they take."""
