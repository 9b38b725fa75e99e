"""What several tests share: small inputs that are made for them, and ways to run affcli."""
