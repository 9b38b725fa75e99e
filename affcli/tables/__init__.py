"""Tables in files and pipes: Parquet, CSV, Arrow and ABAW submissions, read and written."""
