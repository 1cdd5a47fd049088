"""Picture files in and out: `read_photo`, `write_photo`, `write_streamed`; no torch."""
