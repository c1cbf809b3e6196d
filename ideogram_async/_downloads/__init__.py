"""Downloads of images: fetched, checked, and saved on the disk."""
