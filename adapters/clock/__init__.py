"""Clock and Ids."""
