"""From judged tables to documents and their formats; nothing is judged here."""
