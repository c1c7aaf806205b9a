//! tilewright-web
