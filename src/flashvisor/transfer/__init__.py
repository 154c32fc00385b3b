"""Images and appliances from elsewhere, in and out, on the administrator's machine. Nothing of it is in flash."""
