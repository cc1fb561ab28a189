"""Commands that take no recipe, but words of their own: functions of the files of their name, `_` for `-`."""
