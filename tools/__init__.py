"""What the maintainers use to build what the package ships; no part of the wheel."""
