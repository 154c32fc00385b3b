"""What real firmware and many minutes are needed for: `make soak`, not `make test`."""
