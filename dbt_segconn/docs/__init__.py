"""The manual: Markdown pages in the order a user needs them, and the code that finds and generates them."""
