"""Notes into tables: speed and memory, kills, databases, Spark."""
