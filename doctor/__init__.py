"""Find out why WebSockets behind an Apache do not work, or work unsafely: by reading its configuration."""
