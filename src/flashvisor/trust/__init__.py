"""The owner's keys: certificates, signing, verifying."""
