"""Public text gathered once: captured, cleaned, published as signed releases, pulled in slices, taken back."""
