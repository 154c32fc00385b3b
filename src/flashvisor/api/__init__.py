"""Wire types and the one route table that server and client share."""
