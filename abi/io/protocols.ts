// protocols.h: names of ring layouts, for a frontend's `protocol` node.
