"""Where and how the networks compute: device, number type, memory, execution."""
