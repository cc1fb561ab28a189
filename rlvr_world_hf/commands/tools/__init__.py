"""Commands that take no recipe. Each is a function in the file of its name, with `_` for `-`."""
