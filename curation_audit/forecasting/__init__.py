"""What an audit would find, predicted from first order; and what more records would change."""
