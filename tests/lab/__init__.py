"""Lab tests: real images, powered on."""
