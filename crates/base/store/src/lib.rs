//! Places and their one owner: the log's writer, records, blobs, counters, the keeper and its socket.
