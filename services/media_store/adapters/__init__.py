"""What media-store keeps and asks: SQL, Cloudinary, HTTP."""
