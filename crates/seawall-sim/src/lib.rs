//! Seawall's simulator: the real engine, many machines, in one process, on simulated files, coordinators and clocks.
#![forbid(unsafe_code)]

pub mod items;
