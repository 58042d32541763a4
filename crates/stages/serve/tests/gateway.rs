//! The gateway as its clients meet it: a real keeper in a temporary folder, the real example model, real TLS.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod extraction;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod outputs;
#[cfg(test)]
mod protocols;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod sameness;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod upstream;
