//! Wire forms of inference protocols to and from one Exchange; pure.
