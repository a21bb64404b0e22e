"""A page on which a person sees their own network work: one HTML file, without a server."""

from __future__ import annotations

from jaxcnn.data.folder import photo_files as photo_files
from jaxcnn.explore.budget import Limits as Limits
from jaxcnn.explore.budget import PageError as PageError
from jaxcnn.explore.content import build_content as build_content
from jaxcnn.explore.diagram import diagram as diagram
from jaxcnn.explore.graph import build_graph as build_graph
from jaxcnn.explore.photos import Photo as Photo
from jaxcnn.explore.photos import read_photo as read_photo
from jaxcnn.explore.photos import source_photos as source_photos
from jaxcnn.explore.write import page_html as page_html
from jaxcnn.explore.write import write_page as write_page
