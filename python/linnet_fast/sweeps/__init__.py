"""What `linnet_fast.sweep` is made of: designs, identities, chunks, stores, engines."""
