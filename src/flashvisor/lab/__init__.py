"""A rack of virtual servers with real firmware, for trying, testing and measuring."""
