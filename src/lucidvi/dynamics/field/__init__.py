"""Vector fields: networks that say velocity and growth, and how states move along them."""
