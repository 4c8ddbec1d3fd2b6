"""What tests share: oracles, fake runs, a session like a model server's."""
