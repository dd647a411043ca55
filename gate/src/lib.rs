//! Rule sets and the only door to a stream: pure
