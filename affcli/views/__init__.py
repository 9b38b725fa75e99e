"""What people look at: captions, timelines, plots, pages, and exports to other tools."""
