"""Picture files in and out: `read_photo` and `write_photo`; numpy and Pillow, no torch."""
