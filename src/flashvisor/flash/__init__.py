"""Layout of the flash device and the state ring on it."""
