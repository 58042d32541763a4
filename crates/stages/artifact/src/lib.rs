//! Guard the model file: seal, version, list, open.
