//! Properties of the codec and the session: whatever is written is read as it was, whatever is
//! read never panics, and the session keeps to a simple model.

mod garbage;
mod parts;
mod replies;
mod requests;
mod round_trip;
mod session_model;
