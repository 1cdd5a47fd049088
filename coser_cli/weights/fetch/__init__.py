"""Files from hosts: addresses, requests, partial files."""
