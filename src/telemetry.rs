//! What the service says about itself: the subscriber and the closed list of event names.
