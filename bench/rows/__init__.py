"""The rows of the table: each file measures one and says how."""
