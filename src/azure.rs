//! What a deployment in Azure consists of, as text that Azure's own tools take: rules to send to,
//! a configuration that fits them, and content for Microsoft Sentinel.
//!
//! ```text
//! columns of the table --> rules   --.                      .--> arm    (JSON)
//!                                    +--> model (one tree) -+
//! queries (*.kql)      --> content --'                      '--> bicep
//!
//! outputs of the deployment (JSON) --> settings --> [listen] and [sentinel] of a configuration
//! ```
//!
//! A template is built once, as a [`model::Template`], and printed twice. So the two forms cannot
//! differ, and the stream declaration is the very table that rows are mapped by. Nothing here
//! talks to Azure; the same input gives the same text, byte for byte.

pub mod arm;
pub mod bicep;
pub mod content;
pub mod json;
pub mod model;
pub mod rules;
pub mod settings;
mod workbook;
