"""Count matrices wherever they are: in memory, in files, in dask arrays, in collections."""
